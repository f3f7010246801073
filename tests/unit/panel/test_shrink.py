"""Scripts and sheets lose their comments, indentation and needless spaces, and nothing else."""

from __future__ import annotations

import pytest

from dnworker.panel import shrink


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("const a = 1; // one\n\n\n  f(a);\n", "const a=1;\nf(a);\n"),
        ("/** What it is. */\nexport const a = 1;\n", "\nexport const a=1;\n"),
        ("a /* b */ + c", "a   + c"),
        ("return /* a\n b */ 1", "return\n1"),
        ("a + +b - -c", "a + +b - -c"),
        ("if (a) { b = { c: 1 } } else { d }", "if(a){b={c:1}}else{d}"),
        ("f(\"// no  = comment\", '/* none */');", "f(\"// no  = comment\",'/* none */');"),
        (r'f("a\" // b");', r'f("a\" // b");'),
        ('f(/\\/\\/ [`/"] {/g, x);  // gone\n', 'f(/\\/\\/ [`/"] {/g,x);\n'),
        ("x = a / b; // c\ny = 1 / 2;", "x=a / b;\ny=1 / 2;"),
        (
            "const t = `a = \n    // b\n  ${f({ a: 1 }) /* c */}  d\n`;",
            "const t=`a = \n    // b\n  ${f({a:1}) }  d\n`;",
        ),
        ("html`<a\n      b=${c}\n    >\n      // d\n    </a>`", "html`<a\nb=${c}\n>\n// d\n</a>`"),
        ("html`${a.map((b) => `x\n  ${b}  `)}\n   `", "html`${a.map((b)=>`x\n  ${b}  `)}\n`"),
        ("html`<b>${c} = ${d}</b>`", "html`<b>${c} = ${d}</b>`"),
        ("html`<b>${`c`} </b> {d} `", "html`<b>${`c`} </b> {d} `"),
        ("raw`\\`  \n  //`;", "raw`\\`  \n  //`;"),
        ("if (a) return /'  =/.test(b);", "if(a)return /'  =/.test(b);"),
        ("a = `$${b}$`; // c\n", "a=`$${b}$`;\n"),
    ],
)
def test_a_script_without_comments_indentation_and_spaces(source, left):
    assert shrink.script(source) == left


@pytest.mark.parametrize(
    ("source", "left"),
    [
        (".dn .a,\n.dn .b {\n  color: red;\n  margin: 0 1px;\n}\n", ".dn .a,.dn .b{color:red;margin:0 1px;}"),
        ("/* a { } */ .dn :is(a, b) > c { }", ".dn :is(a,b) > c{}"),
        ('.dn a::before { content: "/* ; { */  "; }', '.dn a::before{content:"/* ; { */  ";}'),
        (".dn { width: calc(1px\n + 2px); }", ".dn{width:calc(1px + 2px);}"),
        (".dn :hover , a:not(b) { }", ".dn :hover,a:not(b){}"),
    ],
)
def test_a_sheet_without_comments_and_white_space(source, left):
    assert shrink.sheet(source) == left

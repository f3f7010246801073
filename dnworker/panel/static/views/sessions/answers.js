// The answers to the questions of a prompt. Pure; node tests it.

/** The answers to questions, as the form has them (`{ picked, text }` each); null while one is empty. */
export function answersOf(questions, form) {
  const answers = questions.map((question, n) => {
    const { picked, text } = form[n];
    const given = text.trim();
    if (question.kind !== "choice") return { text: given };
    return given
      ? { custom_text: given, was_custom: true, selected_labels: picked }
      : { selected_labels: picked };
  });
  const isGiven = (one) => Boolean(one.text || one.custom_text || one.selected_labels?.length);
  return answers.every(isGiven) ? answers : null;
}

/** What was picked after a press of an option: one of several, or any number of them. */
export function pick(question, picked, label) {
  if (!question.multiple) return [label];
  return picked.includes(label) ? picked.filter((one) => one !== label) : [...picked, label];
}

/** The session to show first: one that asks, else the newest. */
export function firstOf(sessions) {
  return (sessions.find((session) => session.prompts) ?? sessions[0])?.id ?? null;
}

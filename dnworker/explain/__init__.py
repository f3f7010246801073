"""The pages of messages, one Markdown file a code; `dnworker explain` and `%explain` show them."""

"""Rows: what any file holds, what is wrong with it, and what each backend gets.

What passes between the rooms stands here: `example` (the canonical row), `canonical` (the same as plain JSON values),
`dataset`, `targets`, `problems`, `places`. Two doors lead in: `loading` (a job's data section becomes a Dataset,
kept in the `library`) and `files` (check, convert, split).

| room | what it does |
|---|---|
| `reading` | files and URLs -> raw rows, the shapes that people have -> canonical rows |
| `checking` | what is wrong with one row, and with rows among each other |
| `engine` | the one pass over files of any size |
| `shapes` | canonical rows -> the shapes of services |
| `writing` | files within a service's limits, canonical files, the count of what is lost |
| `rendering` | what the model sees: tokens, which are trained, the preview |
| `counting` | how many tokens, exact or within an interval |
"""

"""From files to canonical rows: sources, blocks, tables; the shapes that people have; decoding."""

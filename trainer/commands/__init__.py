"""The commands of `loupe-trainer`. Modules that need torch are imported where they are used, so that
`--help` and `import` answer at once."""

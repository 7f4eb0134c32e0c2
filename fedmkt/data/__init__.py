"""A partner's own table: sources, validation, quality, public bins and the bundled examples."""

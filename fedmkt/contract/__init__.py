"""The collaboration: members, datasets and their schema, purposes, terms and jobs."""

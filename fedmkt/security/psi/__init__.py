"""Private set intersection: members find shared customers, or count them, by blinded tags."""

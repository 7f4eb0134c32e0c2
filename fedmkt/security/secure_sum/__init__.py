"""Secure sum: members add masked vectors, and nobody learns more than their sum."""

"""The tables that users see: column names, their types, and the rules that make both."""

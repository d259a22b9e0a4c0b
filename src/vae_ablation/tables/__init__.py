"""Tables of a study: collected, summarised and compared. No torch."""

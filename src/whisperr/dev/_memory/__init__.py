"""What has arrived: arrivals in order, cursors over them, the journal, filters."""

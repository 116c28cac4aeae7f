"""What has arrived: arrivals in order, cursors over them, filters, the journal."""

"""What tuning minimises: one loss over all exits, and which exit may update what."""

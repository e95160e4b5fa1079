"""What runs and serves: the web page, the PACS worker."""

"""Where rows go: canonical files, a service's files within its limits, and the count of what is lost."""

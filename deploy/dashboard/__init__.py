"""What the Grafana dashboard is built from: `python -m deploy.dashboard` writes helm/lapis/files/dashboard.json."""

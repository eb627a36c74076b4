"""How the chart's scaling behaves: a recorded load, and a simulation over the costs that were recorded."""

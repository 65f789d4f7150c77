"""The paper's tables and figures beside ours: its numbers as data, the grids that they need, the tables of both."""

"""Pure functions on result records: shares and their intervals, worst cases, alarms. No model runs here."""

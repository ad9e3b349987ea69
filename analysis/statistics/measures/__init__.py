"""What measuring a run again has shown: every effect under every measure, and curves along the settings varied."""

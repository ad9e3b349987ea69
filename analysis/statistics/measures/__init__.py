"""What measuring a run again has shown: each effect under each measure, and curves along the settings varied."""

"""What ``evaluate`` saw the gates of a run do: numbers, figures, and a section of the run's page."""

"""From a command to finished replicates: composed launches, jobs, plans, workers, and the folders they write."""

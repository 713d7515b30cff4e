"""The far side: worker processes and the supervisor of a host; knows no client."""

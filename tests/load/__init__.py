"""Load generators that check every reply themselves, for the e2e tests, the benchmark and the accept scripts."""

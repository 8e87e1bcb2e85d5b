package status

// For the tests of status_test: it holds the documents against packages that import this one.
var (
	Chapter     = chapter
	DocumentAt  = documentAt
	FullMetrics = fullMetrics
	RowNames    = rowNames
	SameNames   = sameNames
	Scrape      = scrape
)

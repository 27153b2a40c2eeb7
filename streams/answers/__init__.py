"""What people ask of the ledger, answered: tables, a page, reports, receipts, an API."""

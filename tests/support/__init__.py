"""What tests share: small real bundles and real pictures."""

-- Plain names: credit that came in, and the text by which a repeated command is recognised.
ALTER TABLE accounts RENAME COLUMN bought_nanos TO credited_nanos;
ALTER TABLE transactions RENAME COLUMN content_hash TO fingerprint;

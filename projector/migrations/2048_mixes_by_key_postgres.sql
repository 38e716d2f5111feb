-- PostgreSQL only: the order of 2047.
ALTER TABLE usage_mixes DROP CONSTRAINT usage_mixes_pkey, ADD PRIMARY KEY (account, width, start_us, model, key_hash, provider, app);

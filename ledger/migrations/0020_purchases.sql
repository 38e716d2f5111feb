-- For the sum of what an account has ever bought.
CREATE INDEX grants_bought ON grants (account) WHERE kind = 'credit';

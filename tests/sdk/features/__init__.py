"""What every SDK must be able to do with every provider. The vendors' simulators steer by the user's text."""

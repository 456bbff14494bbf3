"""How DeepSeek works, built piece by piece: the reference implementations behind the lessons."""

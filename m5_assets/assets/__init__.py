"""What the platform makes, one module a stage, in the order of the data.

landing -> features -> models -> predictions -> ensemble -> rds, and accuracy once the sales are known.
"""

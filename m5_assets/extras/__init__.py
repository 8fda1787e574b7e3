"""What only an AWS account needs: QuickSight dashboards and deployment. Nothing in the core imports it."""

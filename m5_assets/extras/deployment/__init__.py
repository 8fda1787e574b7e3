"""`m5 deploy`: deploys the stacks of `infrastructure/` with the AWS CLI and the images of `docker/` with docker."""

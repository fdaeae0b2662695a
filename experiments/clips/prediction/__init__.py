"""What a trained model of clips says of whole videos, for all jobs that train one."""

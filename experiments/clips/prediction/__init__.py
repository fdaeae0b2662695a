"""Prediction of whole videos with a trained model of clips, for all jobs that train one."""

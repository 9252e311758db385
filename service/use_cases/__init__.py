"""What requests do, whoever asks: the API's routes and the dashboard's forms call these."""

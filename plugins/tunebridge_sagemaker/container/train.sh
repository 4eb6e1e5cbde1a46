# What the training container runs: `train.sh HOME`, in the folder of the channels; HOME is the container's /opt/ml.
# The model's folder gets what an endpoint needs to answer, the code that made it. The trainer then takes this shell's
# place, so that it hears SIGTERM itself.
set -e
home=$1
mkdir -p run/folder "$home/model/code"
tar -xzf run/run.tar.gz -C run/folder
cd code
cp -r tunebridge inference.py requirements.txt "$home/model/code/"
exec python -m tunebridge.training.start "$home/input/data/run/folder" "$home/checkpoints" --results "$home/model"

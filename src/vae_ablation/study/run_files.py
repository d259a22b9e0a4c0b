"""Files that the folder of a run holds, by the stage that writes them."""

TRAIN_FILES = ("run.json", "model.safetensors", "history.csv")
SNAPSHOTS_FILE = "snapshots.npz"
EVALUATION_FILES = ("metrics.json", "codes.npz", "pictures.npz", "examples.npz", "density.npz")
CELL_FILE = "codes.h5ad"
APPLICATION_FILES = ("applications.json", "applications.npz")

"""Where the stages of a run keep what later stages read: folders and files, seen from the run directory.

The only list of these names outside the stage that writes each: whoever reads another stage's file takes its
path from here.
"""

SHOT_ENCODING = "01_shot_encoding"
MOVIE_SIMILARITY = "02_movie_similarity"
SCENE_MINING = "03_scene_mining"
MOCO_TRAINING = "04_moco_training"
LVU = "05_lvu_evaluation"
MOVIENET = "06_movienet_evaluation"
MODERATION = "07_mcd_evaluation"
GALLERY = "08_retrieval_gallery"
PAPER = "09_paper_results"

FILMS = f"{SHOT_ENCODING}/films.parquet"
SHOTS = f"{SHOT_ENCODING}/shots"
SUBTITLES = f"{SHOT_ENCODING}/subtitles.parquet"
FEATURES = f"{SHOT_ENCODING}/features"
EMBEDDED = f"{SHOT_ENCODING}/embedded"  # the embedded films' videos and truth
SHOT_ENCODER = f"{SHOT_ENCODING}/shot_encoder.safetensors"
FILM_PAIRS = f"{MOVIE_SIMILARITY}/film_pairs.parquet"
MOVIE_ENCODER = f"{MOVIE_SIMILARITY}/movie_encoder.safetensors"
SCENE_PAIRS = f"{SCENE_MINING}/scene_pairs.parquet"
SCENE_ENCODER = f"{MOCO_TRAINING}/scene_encoder.safetensors"
BASELINES = f"{MOCO_TRAINING}/comparators"  # SimCLR, MoCo and ShotCoL, trained by 04
SCENES = f"{GALLERY}/scenes.parquet"
ENCODERS = f"{GALLERY}/encoders.json"
INDEX = f"{GALLERY}/index.faiss"

# Tables that a stage writes beside those above, by the name that follows the stage's folder.
RESULTS = "results.parquet"
PROBES = "probes.parquet"
MINING_PRECISION = "mining_precision.parquet"
PRECISION_BY_SHARE = "precision_by_share.parquet"
PRECISION_BY_THEME = "precision_by_theme.parquet"

# A run of several settings holds one run for each, and a table that lists them: folder and table. Runs that
# were made before settings had this name have the second pair.
SETTINGS = (("settings", "settings.parquet"), ("rows", "rows.parquet"))

"""The colours of figures and screens."""

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
ARROW = "#E69F00"  # the orange arrow of the paper's figures
RIGHT, WRONG = "#0072B2", "#D55E00"  # always beside a tick or a cross, never colour alone
GREY = "#5f6368"  # notes; 5.9:1 against white
SEQUENTIAL = "viridis"

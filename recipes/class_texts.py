"""What is said of the classes of the data sets of text, to tell them without a label; written once, by hand."""

DESCRIPTIONS = {
    "trec": {
        "ABBR": [
            "What does the abbreviation stand for?",
            "What is the full form of this acronym?",
            "What is the abbreviation of this expression?",
        ],
        "DESC": [
            "What does it mean, and how is it defined?",
            "Why does it happen, and what is the reason for it?",
            "How does it work, and how is it done?",
        ],
        "ENTY": [
            "What thing, animal, food, product or invention is it?",
            "What is the name of the film, book, song, game or sport?",
            "What kind of substance, colour, plant, disease or language is it?",
        ],
        "HUM": [
            "Who is the person?",
            "Who wrote, invented, won or discovered it?",
            "Which company, team or group of people is it?",
        ],
        "LOC": [
            "Where is the place?",
            "What city, country or state is it in?",
            "Which mountain, river, island or continent is it?",
        ],
        "NUM": [
            "How many are there, and how much does it cost?",
            "When did it happen, in what year and on what date?",
            "How long, how far, how big, how fast or how old is it?",
        ],
    },
    "sst2": {
        "negative": [
            "A terrible film, boring and badly made.",
            "It is a disappointing, dull and annoying movie.",
            "I hated it, a waste of time.",
        ],
        "positive": [
            "A wonderful film, moving and well made.",
            "It is a delightful, funny and touching movie.",
            "I loved it, well worth seeing.",
        ],
    },
    "emotion": {
        "anger": [
            "I am so angry and furious about this.",
            "This is outrageous, it makes me mad.",
            "I hate this, how dare they insult people.",
        ],
        "joy": [
            "I am so happy and delighted today.",
            "This is hilarious and a lot of fun.",
            "What a great time, I love it and cannot stop smiling.",
        ],
        "optimism": [
            "Do not worry, things will get better.",
            "Believe in yourself, have hope and keep going.",
            "I am confident and look forward to the future.",
        ],
        "sadness": [
            "I am so sad and depressed.",
            "This is heartbreaking, I am crying.",
            "I feel lonely and lost, and miss them.",
        ],
    },
    "docstrings": {
        "keras": [
            "A layer of a neural network.",
            "Train, compile or save a model.",
            "A loss, a metric or an optimizer of deep learning.",
        ],
        "numpy": [
            "Return an array computed element by element.",
            "Evaluate a polynomial series or draw from a probability distribution.",
            "Test the shape, the dtype or the axes of an array.",
        ],
        "python": [
            "Open a file, a socket or a process of the operating system.",
            "Parse a string, a command line, a date or an email message.",
            "Return the name, the path or the attributes of an object.",
        ],
        "tensorflow": [
            "An operation of a computation graph on tensors.",
            "Distribute variables over devices, replicas and workers.",
            "A dataset that yields the elements of its input.",
        ],
    },
}
NAMES = {
    "trec": {
        "ABBR": "abbreviation",
        "DESC": "description",
        "ENTY": "entity",
        "HUM": "human",
        "LOC": "location",
        "NUM": "number",
    },
}

"""The micro language of the tiny model: short stories whose state can be followed, facts, questions about facts.

Everything is drawn from a `random.Random`, so a seed gives the same text on every machine.
"""

NAMES = ["Tom", "Mia", "Ben", "Anna", "Leo", "Lily", "Max", "Nora", "Sam", "Ella", "Jack", "Rosa"]
PLACES = ["garden", "kitchen", "forest", "house", "school", "market", "river", "tower"]
OBJECTS = ["ball", "lamp", "book", "kite", "cup", "drum", "coat", "boat", "key", "hat", "bell", "map"]
OPPOSITES = [("big", "small"), ("old", "new"), ("hot", "cold"), ("dark", "bright"), ("soft", "hard"), ("clean", "dirty")]
ADJECTIVES = [word for pair in OPPOSITES for word in pair]
OPPOSITE = dict(OPPOSITES) | {second: first for first, second in OPPOSITES}
MOODS = ["happy", "sad", "tired", "proud"]
GIVE = ["gave", "showed", "sold"]
# animal: (home, food, sound)
ANIMALS = {
    "fox": ("forest", "berries", "barks"),
    "cat": ("house", "fish", "purrs"),
    "duck": ("river", "bread", "quacks"),
    "horse": ("field", "grass", "neighs"),
    "owl": ("tower", "mice", "hoots"),
    "bear": ("cave", "honey", "growls"),
    "frog": ("pond", "flies", "croaks"),
    "mouse": ("kitchen", "cheese", "squeaks"),
}


def story(rng):
    """People stand in places, own things and hand them on; the last sentence sums the state up."""
    people = rng.sample(NAMES, 3)
    place = {person: rng.choice(PLACES) for person in people}
    things = rng.sample(OBJECTS, 2)
    look = {thing: rng.choice(ADJECTIVES) for thing in things}
    owner = {}
    lines = []

    def name_thing(thing):
        return f"{look[thing]} {thing}"

    first = people[0]
    lines.append(f"{first} was in the {place[first]}.")
    owner[things[0]] = first
    lines.append(f"{first} had a {name_thing(things[0])}.")
    if rng.random() < 0.5:
        second = people[1]
        owner[things[1]] = second
        lines.append(f"{second} had a {name_thing(things[1])}.")
    for _ in range(rng.randint(2, 4)):
        kind = rng.random()
        thing = rng.choice(sorted(owner))
        holder = owner[thing]
        if kind < 0.45:
            other = rng.choice([person for person in people if person != holder])
            verb = rng.choice(GIVE)
            lines.append(f"{holder} {verb} the {name_thing(thing)} to {other}.")
            if verb == "showed":
                lines.append(f"{other} liked the {thing}. {holder} still had it.")
            else:
                owner[thing] = other
                lines.append(f"{other} said thank you to {holder}. Now {other} had the {name_thing(thing)}.")
        elif kind < 0.7:
            person = rng.choice(people)
            place[person] = rng.choice([name for name in PLACES if name != place[person]])
            lines.append(f"Then {person} went to the {place[person]}.")
        elif kind < 0.85:
            lines.append(f"The {thing} was not {OPPOSITE[look[thing]]}. It was {look[thing]}.")
        else:
            lines.append(f"{holder} was {rng.choice(MOODS)} because {holder} had the {thing}.")
    thing = rng.choice(sorted(owner))
    lines.append(f"In the end, {owner[thing]} had the {name_thing(thing)}.")
    return " ".join(lines)


def fact(rng):
    """What an animal is, or which words are opposites."""
    kind = rng.random()
    if kind < 0.5:
        animal = rng.choice(sorted(ANIMALS))
        home, food, sound = ANIMALS[animal]
        lines = [f"It lives in the {home}.", f"It eats {food}.", f"It {sound}."]
        rng.shuffle(lines)
        return f"A {animal} is an animal. " + " ".join(lines)
    word = rng.choice(ADJECTIVES)
    return f"The opposite of {word} is {OPPOSITE[word]}."


def repetition(rng):
    """A list of any words, said two or three times: what teaches the model to copy."""
    items = rng.sample(NAMES + OBJECTS + ADJECTIVES + PLACES, rng.randint(3, 8))
    return "A list: " + " Again: ".join(", ".join(items) + "." for _ in range(rng.randint(2, 3)))


def question(rng):
    """(question, answer) about an animal or an opposite."""
    if rng.random() < 0.7:
        animal = rng.choice(sorted(ANIMALS))
        home, food, sound = ANIMALS[animal]
        return rng.choice(
            [
                (f"Where does the {animal} live?", f"The {animal} lives in the {home}."),
                (f"What does the {animal} eat?", f"The {animal} eats {food}."),
                (f"What does the {animal} do?", f"The {animal} {sound}."),
            ]
        )
    word = rng.choice(ADJECTIVES)
    return f"What is the opposite of {word}?", f"The opposite of {word} is {OPPOSITE[word]}."


def chat(rng):
    """One or two turns in the format of the model's chat template."""
    turns = []
    if rng.random() < 0.5:
        turns.append("<|im_start|>system\nYou are a tiny model.<|im_end|>\n")
    for _ in range(rng.randint(1, 2)):
        ask, answer = question(rng)
        turns.append(f"<|im_start|>user\n{ask}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n")
    return "".join(turns)


def document(rng):
    kind = rng.random()
    return story(rng) if kind < 0.6 else repetition(rng) if kind < 0.75 else fact(rng) if kind < 0.88 else chat(rng)


def mirror(rng):
    """(prompt, completion) of the task: giver and receiver change places and the adjective turns into its opposite.

    The base model never sees a line of this form.
    """
    giver, receiver = rng.sample(NAMES, 2)
    adjective, thing = rng.choice(ADJECTIVES), rng.choice(OBJECTS)
    prompt = f"Mirror: {giver} gave the {adjective} {thing} to {receiver}. ="
    return prompt, f" {receiver} gave the {OPPOSITE[adjective]} {thing} to {giver}."

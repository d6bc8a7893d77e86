"""Generates a varied panel of fictional people; one seed gives the same people on every machine.

The names are common ones of each country, combined at random. They refer to no particular person.
"""

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple, TypeVar

from understudy.domain.simulation import Person

DEFAULT_PANEL_SIZE = 24
DEFAULT_PANEL_SEED = 24

#: Limits of every profile, from any source.
MAX_NAME_LENGTH = 200
MAX_AGE = 130
MAX_CODE_LENGTH = 64
MAX_TRAITS = 100
#: As compact JSON in UTF-8.
MAX_TRAITS_KIB = 64

YOUNGEST = 18
OLDEST = 85
_RETIRED_FROM = 67
_STUDENT_UNTIL = 23

Item = TypeVar("Item")


def check_traits(traits: dict[str, Any]) -> dict[str, Any]:
    """Returns `traits` unchanged. Raises ValueError if they exceed MAX_TRAITS or MAX_TRAITS_KIB."""
    if len(traits) > MAX_TRAITS:
        raise ValueError(f"a person has at most {MAX_TRAITS} traits; got {len(traits):,}")
    size = len(json.dumps(traits, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_TRAITS_KIB * 1024:
        raise ValueError(f"the traits of a person have at most {MAX_TRAITS_KIB} KiB; got {size:,} bytes")
    return traits


class _Origin(NamedTuple):
    country: str
    language: str
    given: tuple[str, ...]
    family: tuple[str, ...]


# Family names that change with gender are left out: first and last names are drawn apart.
_NAMES = """
AR es: Martina Joaquín Sofía Facundo Valentina Lautaro Camila Bruno
       Fernández Gómez Sosa Acosta Benítez Medina Ríos Molina
AU en: Charlotte Jack Isla Lachlan Ruby Cooper Matilda Angus
       Campbell Nguyen Walker Thompson Kelly Ryan Bailey Harris
BD bn: Nusrat Tanvir Farhana Rakib Sadia Imran Rumana Shakil
       Rahman Hossain Akter Chowdhury Ahmed Sarker Uddin Miah
BE fr: Élise Mathéo Camille Loïc Manon Bastien Aurélie Quentin
       Dubois Lambert Dupont Simon Leclercq Renard Lejeune Collard
BE nl: Lotte Wout Femke Jens Marieke Bram Silke Pieter
       Peeters Janssens Maes Willems Claes Goossens Wouters Aerts
BR pt: Beatriz Thiago Larissa Caio Fernanda Rafael Juliana Gustavo
       Silva Souza Oliveira Pereira Carvalho Ribeiro Barbosa Cardoso
CA en: Emma Liam Olivia Noah Hannah Ethan Megan Tyler
       MacDonald Singh Wilson Roy Fraser Chan Murray Graham
CA fr: Rosalie Félix Océane Olivier Maude Étienne Josiane Alexis
       Tremblay Gagnon Bouchard Côté Fortin Lavoie Pelletier Bélanger
CH de: Seraina Reto Nadja Beat Corinne Urs Livia Jürg
       Meier Keller Brunner Frei Zimmermann Gerber Widmer Baumann
CL es: Antonia Vicente Catalina Benjamín Isidora Matías Javiera Cristóbal
       Muñoz Rojas Soto Contreras Sepúlveda Araya Fuentes Tapia
CN zh: Xiuying Wei Fang Jun Jing Lei Yan Bo
       Wang Li Zhang Liu Chen Yang Huang Zhao
DE de: Katharina Lukas Anneliese Jonas Sabine Felix Ursula Tobias
       Schmidt Weber Hoffmann Becker Koch Richter Wolf Neumann
DK da: Freja Emil Karen Rasmus Signe Mads Bodil Søren
       Jensen Nielsen Møller Christensen Lund Holm Kjær Dam
EG ar: Mariam Ahmed Salma Karim Nour Youssef Dina Tarek
       Hassan Ibrahim Mahmoud Fahmy Mansour Saleh Gaber Shaheen
ES es: Lucía Álvaro Carmen Pablo Nerea Javier Pilar Hugo
       García Martín Romero Navarro Torres Vega Ortega Serrano
ET am: Hirut Dawit Meseret Yonas Tigist Bekele Selam Abel
       Tesfaye Alemu Bekele Girma Haile Kebede Wolde Assefa
FI fi: Aino Eero Helmi Juhani Kaisa Mikko Tuulikki Antti
       Virtanen Korhonen Nieminen Laine Koskinen Salonen Heikkilä Rantanen
FR fr: Chloé Hugo Mireille Antoine Inès Julien Sandrine Maxime
       Martin Bernard Petit Moreau Girard Rousseau Mercier Faure
GB en: Amelia Oliver Priya George Sian Callum Florence Rhys
       Smith Patel Jones Evans Wright Hughes Khan Clarke
GH en: Akosua Kwame Abena Kofi Efua Yaw Adwoa Kojo
       Mensah Owusu Boateng Asante Appiah Osei Agyeman Amoah
HU hu: Eszter Bence Réka Gergő Zsófia Balázs Ildikó Márton
       Nagy Kovács Tóth Szabó Horváth Varga Kiss Molnár
ID id: Siti Budi Dewi Agus Ratna Rizky Ayu Dimas
       Santoso Wijaya Pratama Kusuma Hidayat Saputra Lestari Nugroho
IE en: Aoife Cian Niamh Oisín Saoirse Declan Róisín Fionn
       Murphy Byrne Doyle Nolan Gallagher Quinn Brennan Keane
IL he: Noa Itai Tamar Yonatan Shira Eitan Michal Omer
       Cohen Levi Mizrahi Peretz Biton Friedman Azoulay Katz
IN hi: Ananya Rohan Kavita Arjun Meera Vikram Sunita Aditya
       Sharma Gupta Verma Mehta Joshi Kapoor Mishra Yadav
IN ta: Lakshmi Karthik Divya Senthil Revathi Arun Malar Vignesh
       Subramanian Raman Murugan Krishnan Natarajan Selvam Pillai Anand
IR fa: Shirin Reza Neda Hamid Leila Amir Parisa Omid
       Ahmadi Hosseini Karimi Moradi Rahimi Sadeghi Jafari Rezaei
IT it: Giulia Matteo Francesca Lorenzo Chiara Davide Elena Pietro
       Rossi Ferrari Esposito Ricci Greco Conti Gallo Fontana
JP ja: Sakura Haruto Yuko Takumi Aoi Kenji Naoko Ren
       Sato Suzuki Takahashi Tanaka Watanabe Ito Nakamura Kobayashi
KE sw: Wanjiru Otieno Akinyi Kamau Chebet Mwangi Nyambura Kiprono
       Odhiambo Njoroge Kimani Omondi Mutua Kariuki Wekesa Koech
KR ko: Seo-yeon Min-jun Ji-woo Hyun-woo Eun-ji Dong-hyun Su-bin Tae-yang
       Kim Lee Park Choi Jung Kang Yoon Shin
MA ar: Khadija Youssef Fatima Hamza Zineb Omar Salma Rachid
       Alaoui Bennani Idrissi Tazi Berrada Chraibi Amrani Fassi
MX es: Ximena Diego Guadalupe Santiago Regina Emiliano Renata Arturo
       Hernández López Ramírez Flores Cruz Morales Reyes Aguilar
NG en: Chioma Emeka Aisha Tunde Ngozi Ibrahim Folake Chinedu
       Okafor Adeyemi Bello Eze Balogun Musa Nwosu Ogunleye
NL nl: Sanne Daan Fleur Thijs Anouk Ruben Wilma Joost
       Jansen Bakker Visser Smit Mulder Bos Vos Dekker
NO nb: Ingrid Sondre Marit Eirik Solveig Håkon Silje Bjørn
       Hansen Johansen Larsen Berg Haugen Dahl Solberg Lie
NZ en: Aroha Tane Sophie Wiremu Georgia Nikau Harriet Callum
       Taylor Wilson Ngata Parata Robinson King Tamihana Reid
PE es: Rosa Luis Milagros Jorge Yesenia Renzo Flor Gonzalo
       Quispe Mamani Huamán Vargas Chávez Castillo Salazar Paredes
PH tl: Maricel Jose Angelica Ramon Jasmine Paolo Rowena Miguel
       Santos Reyes Cruz Bautista Ocampo Garcia Mendoza Villanueva
PK ur: Ayesha Bilal Sana Usman Hina Faisal Zainab Hamza
       Khan Malik Qureshi Butt Sheikh Raza Iqbal Siddiqui
PL pl: Zofia Jakub Agnieszka Piotr Magda Tomasz Halina Kacper
       Nowak Wójcik Mazur Kaczmarek Król Wróbel Dudek Sikora
PT pt: Leonor Duarte Mafalda Rui Inês Tiago Graça Afonso
       Santos Ferreira Costa Marques Almeida Lopes Teixeira Correia
RO ro: Ioana Andrei Elena Mihai Raluca Vlad Doina Radu
       Popescu Ionescu Dumitru Stan Stoica Munteanu Constantin Marin
SE sv: Elsa Viktor Astrid Gustav Linnea Oskar Birgitta Nils
       Andersson Johansson Lindberg Nyström Bergqvist Ekman Sjöberg Holm
SN fr: Aminata Mamadou Fatou Ousmane Awa Cheikh Mariama Ibrahima
       Diop Ndiaye Fall Sow Gueye Sarr Faye Diallo
TH th: Malee Somchai Ploy Anan Kanya Niran Siriporn Thanawat
       Saetang Chaiyasit Srisuk Wongsa Boonmee Thongchai Rattana Suwan
TR tr: Elif Emre Zeynep Burak Ayşe Mehmet Defne Kerem
       Koç Kaya Demir Şahin Çelik Özdemir Aksoy Arslan
UA uk: Oksana Taras Iryna Andriy Olena Bohdan Halyna Dmytro
       Shevchenko Kovalchuk Bondarenko Tkachenko Kravchuk Melnyk Savchenko Lysenko
US en: Madison Marcus Brittany Elijah Dolores Andre Ashley Walter
       Johnson Williams Brown Davis Jackson Washington Nelson Cooper
US es: Marisol Hector Daniela Carlos Yolanda Ernesto Gabriela Ruben
       Garcia Martinez Rodriguez Gonzalez Ramos Ortiz Gutierrez Castro
VN vi: Linh Minh Thảo Khang Hương Tuấn Ngọc Phúc
       Nguyễn Trần Lê Phạm Hoàng Vũ Đặng Bùi
ZA af: Annelie Johan Marlize Pieter Elmarie Hendrik Sunette Riaan
       Botha Pretorius Venter Steyn Nel Coetzee Fourie Swart
ZA zu: Nomvula Sipho Thandiwe Bongani Zanele Mandla Nokuthula Themba
       Dlamini Nkosi Zulu Mthembu Khumalo Buthelezi Cele Mkhize
"""
_ORIGIN = re.compile(r"(\w+) (\w+): (.+)\n +(.+)")
_ORIGINS = tuple(
    _Origin(country, language, tuple(given.split()), tuple(family.split()))
    for country, language, given, family in _ORIGIN.findall(_NAMES)
)

#: Traits from 0 to 1, with the phrases for a low and a high value.
_TRAITS = {
    "patience": ("gives up as soon as a page gets in the way", "keeps at it however long it takes"),
    "curiosity": ("wants the shortest way and nothing else", "cannot pass an interesting link"),
    "thoroughness": ("skims and clicks", "reads everything before deciding"),
    "tech_savviness": ("asks others when a form looks unusual", "is at home on any website"),
    "decisiveness": ("compares for days", "takes the first thing that fits"),
    "caution": ("types in whatever is asked for", "hands out personal details only reluctantly"),
    "frugality": ("does not look at prices", "looks for the cheapest offer first"),
}
_ACCESSIBILITY = {
    "screen_reader": "Uses a screen reader.",
    "low_vision": "Enlarges every page.",
    "keyboard_only": "Goes without a mouse.",
    "color_blind": "Cannot tell red from green.",
    "dyslexia": "Finds long texts hard going.",
    "hard_of_hearing": "Needs captions.",
}
_JOBS = """
    accountant, baker, bus driver, care worker, carpenter, cook, dentist, electrician, farmer, florist,
    gardener, graphic designer, hairdresser, hotel receptionist, journalist, lawyer, librarian, mechanic,
    midwife, musician, nurse, office clerk, pharmacist, physiotherapist, plumber, police officer,
    postal worker, sales assistant, social worker, software developer, teacher, translator,
    warehouse worker, web shop owner
"""
_SUBJECTS = "biology, economics, engineering, history, law, media, medicine, music"

# Fractional parts of multiples of the golden ratio are spread evenly over 0..1 for any count.
_GOLDEN = 0.6180339887498949
_MAX_TRIES = 50


def generate_people(count: int, seed: int) -> list[Person]:
    """Returns `count` people, the same ones for the same seed; a smaller count returns the first of them.

    Names are distinct up to tens of thousands. Countries rotate and ages are spread evenly from 18 to 85, so
    that a small panel is also varied.
    """
    # Only `Random.random()` is guaranteed to stay the same in later versions of Python.
    rng = Random(f"people {seed}")  # noqa: S311 - nothing secret
    first_age = rng.random()
    origins: list[_Origin] = []
    taken: set[str] = set()
    people = []
    for index in range(count):
        if not origins:
            origins = sorted(_ORIGINS, key=lambda _: rng.random())
        origin = origins.pop()
        age = YOUNGEST + int((first_age + index * _GOLDEN) % 1 * (OLDEST + 1 - YOUNGEST))
        traits = _traits(rng, age)
        person = Person(
            name=_name(rng, origin, taken),
            age=age,
            country=origin.country,
            language=origin.language,
            traits=traits,
            bio=_bio(rng, age, traits),
        )
        taken.add(person.name)
        people.append(person)
    return people


def default_panel() -> list[Person]:
    """Returns the people of a new workspace."""
    return generate_people(DEFAULT_PANEL_SIZE, DEFAULT_PANEL_SEED)


def _choose(rng: Random, items: Sequence[Item]) -> Item:
    return items[int(rng.random() * len(items))]


def _split_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def _name(rng: Random, origin: _Origin, taken: set[str]) -> str:
    name = ""
    for attempt in range(_MAX_TRIES):
        given, family = _choose(rng, origin.given), _choose(rng, origin.family)
        middle = _choose(rng, origin.given) if attempt else given
        name = " ".join([given, family] if middle == given else [given, middle, family])
        if name not in taken:
            break
    return name


def _traits(rng: Random, age: int) -> dict[str, Any]:
    traits: dict[str, Any] = {trait: round(rng.random(), 2) for trait in _TRAITS}
    # Older people grew up without the web: a tendency, not a rule.
    years_over_forty = max(0, age - 40)
    traits["tech_savviness"] = round(traits["tech_savviness"] * (1 - years_over_forty / 90), 2)
    if rng.random() < 0.12 + years_over_forty / 200:
        traits["accessibility"] = [_choose(rng, tuple(_ACCESSIBILITY))]
    return traits


def _bio(rng: Random, age: int, traits: dict[str, Any]) -> str:
    if age <= _STUDENT_UNTIL:
        work = f"Student of {_choose(rng, _split_list(_SUBJECTS))}"
    elif age >= _RETIRED_FROM:
        work = f"Retired {_choose(rng, _split_list(_JOBS))}"
    else:
        work = _choose(rng, _split_list(_JOBS)).capitalize()
    strongest = max(_TRAITS, key=lambda trait: abs(float(traits[trait]) - 0.5))
    habit = _TRAITS[strongest][traits[strongest] > 0.5]
    needs = "".join(f" {_ACCESSIBILITY[need]}" for need in traits.get("accessibility", ()))
    return f"{work} who {habit}.{needs}"

"""The words of the embedded world: every name in it combines words of these lists. Knows no facts and no sentences.

The invented ones were made from syllables by hand-picked patterns, one flavour a list; no two of them share a stem, and none
is part of another, so that a name found in a passage is that name. With the words of the sentences (`vocabulary` in
`world.py`) they stay under 1,500.
"""

from __future__ import annotations


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES: tuple[str, ...] = _list("""
    Alda Alvek Alveth Arlin Arma Arnina Arso Bamis Barrora Beseth Besi Billia Binnel Bisin Bodel Bola Borina Brazora
    Brennek Brolan Brothin Bruzel Bulek Darek Dasina Dazeth Dessan Dillo Dizan Dodina Dovek Drannis Drassin Dremi
    Dressa Drilli Drozeth Dullia Dusso Elneth Elsseth Erssan Erssis Erthin Felek Feni Filel Fitha Follo Fovan Foza
    Fozel Gasora Gathia Gazek Giran Gizin Gorel Gralan Gramin Grazi Grenina Greza Grissa Grizis Groseth Grovan Grudina
    Gruri Grusis Gudora Gullora Gumeth Gumo Gunnek Hana Haneth Herrel Hezel Hollan Hulina Ilsin Jadek Jalleth Jannan
    Jinina Jorria Josina Kadora Kaseth Kelora Kissora Kitho Kolina Konna Kossis Kothina Krilin Krirel Kriveth Kronan
    Krulli Kruvora Kuzina Lerel Linan Lithel Lomina Ludina Manna Mannora Mazora Merria Mineth Morora Mossek Munnia
    Muvek Nala Nasek Nedis Nesan Nirrek Nudia Nuzel Orvina Pallis Pema Pemek Peno Perrek Perrora Ponin Poreth Porra
    Posel Rania Rerek Rezeth Rinek Romek Runnis Rurel Ruzin Sanin Sassel Sazis Sesa Sezi Sorrek Sunora Tamel Tassek
    Thamia Thazeth Thedan Thelli Thidora Thilla Thillis Thirin Thizia Thothis Thunis Totha Tredel Trineth Trisora
    Tromia Trossin Trovin Trullan Trusi Trussel Truvis Tudeth Vanis Varora Vavi Vellora Vonnin Vosi Vuna Vunnora
    Vuthis Vuzeth Yenna Yonan Yonnia Yovo Zasin Zeri Zonel Zovin Zuzis
""")

SURNAMES: tuple[str, ...] = _list("""
    Baldon Banster Bervis Blampel Blarst Blasker Blibbin Blixton Blunger Blurgen Borgen Brashaw Braxton Brildon
    Brimpel Britzer Bruffin Brundel Brusker Dargen Darwick Dasker Dempel Doshaw Dreddock Drellow Drergen Drisker
    Dulder Fashaw Favock Felsky Filder Flarrow Fletzer Flindar Flishaw Flubbin Fludlow Frallow Fralm Frassel Frilver
    Frirk Frondel Frosker Gaggart Geddock Gergen Gexton Giffin Glenkov Glerrow Glimpel Glinn Glinster Gluvock Gorwick
    Graffin Gralder Grasker Grettle Grulm Hompel Horrow Huggart Hurken Hurvis Jallow Janger Jankov Jaxton Jidlow
    Jimmer Julver Kabbin Kledlow Klinger Klirrow Klondel Klonster Klorgen Kluffin Klurk Kolsky Kotzer Krempel Krenn
    Krind Krinster Krittle Kroffin Krolver Kruggart Krunkov Krurken Kunger Lelver Litzer Lodden Lonkov Lulgrim Marst
    Matzer Messel Nendel Nirvis Novock Nuldon Nunkov Penkov Pilver Pittle Plarn Plemble Plenster Plevock Pliddock
    Pliffin Polgrim Pomble Prack Pradden Prarwick Prebbin Preffin Prenkov Prilgrim Prindar Prirgen Prishaw Proldon
    Prund Pubbin Pusker Ralver Redlow Reldon Rerken Rerrow Retzer Riggart Roddock Ruvock Ruxton Sadlow Saffin Salsky
    Sivock Slamble Slandel Slanger Slashaw Sleffin Slerwick Slirst Slock Slurvis Sobbin Starst Steggart Stesk Stiddock
    Stindel Stinster Stobbin Storwick Stunn Sturken Surst Sushaw Sutzer Svaffin Svalder Svallow Svann Svavock Svill
    Svixton Svond Svusker Taddock Tampel Tebbin Tevock Thadlow Thaggart Thalgrim Tharn Thassel Theck Thendar Therrow
    Thilder Thivock Thodden Thoffin Thond Thonster Thoshaw Thulver Thumble Thumpel Tranger Trern Trerwick Trirken
    Trullow Trurgen Tudlow Veffin Vemble Venger Viddock Vilsky Virgen Virwick Vudden Vummer Vundel Zandel Zibbin
    Zishaw Zissel Zixton Zoggart Zuddock
""")

PLACES: tuple[str, ...] = _list("""
    Bergo Blahaven Blargo Blegard Blessar Blosta Bludun Brepolis Brines Brissar Brolden Brossa Brotara Buburn Buville
    Dimouth Dindra Drazen Driville Drolum Druburn Drumar Drumouth Drural Druvik Flerin Flizen Floburn Flussar Flusta
    Flustead Fontha Fotara Frabria Fralava Framouth Frastead Fregard Frezen Frindra Fronova Fruhaven Fundra Gabria
    Galava Gelum Glidun Glurin Grorsund Grosta Grutara Hipolis Hizen Hulden Jamouth Jandra Javora Jelden Jetara Jidun
    Jihaven Jilum Jirsund Jossar Jugrad Kapolis Kemont Kenova Kevik Kilava Klemont Klenes Kleville Klistead Klivik
    Klivora Klograd Klohaven Klotara Klozen Klubria Kossa Kragard Kralden Kregrad Krehaven Krergo Kretara Kribria
    Krinova Krintha Kripolis Krizen Kumouth Kurin Lavik Luntha Molden Moqua Movik Mugard Nalden Ninova Nintha Nista
    Nohaven Nomont Nondra Noral Norgo Nuqua Pamar Paqua Pezen Piburn Plandra Plentha Pliral Plirsund Ploqua Plupolis
    Prassar Prihaven Privik Probria Prograd Rimar Roburn Romouth Sargo Sebria Sersund Sevora Slamont Slaqua Slegrad
    Slista Slondra Slonova Sluzen Staburn Stestead Stines Stomar Storgo Sturin Stuvora Susta Svantha Svibria Svidun
    Svilum Thahaven Thamar Thatara Thograd Thoville Thuburn Thugard Tristead Trones Trozen Tural Vogard Vonova Vorin
    Vubria Vursund Zanes Zazen Zitara Zuhaven Zunova Zuvik
""")

COUNTRIES: tuple[str, ...] = _list("""
    Bondova Brandova Brargistan Brembria Brirtania Burland Buvarra Daldour Destria Doldia Drevarra Drirvia Drustria
    Fengaria Gartania Gentia Gildia Gildour Gilland Girvia Golmark Gonthos Govarra Kendova Kerland Kraldour Krossonia
    Krungaria Larvia Lontia Lumbria Lurgistan Lurtania Mimbria Nervia Nongaria Pilmark Pindova Pombria Postria Raldia
    Rangaria Ranthos Rantia Rergistan Salland Stilmark Stirtania Stivarra Stulland Sussonia Teldia Tossonia Trildia
    Trilmark Trontia Trovarra Velmark Vembria Vissonia Vurvia Zandova Zenthos Zistria Zoldour Zuntia
""")

RIVERS: tuple[str, ...] = _list("""
    Belda Beva Bine Bomu Degno Donso Fether Fumse Gimse Giwe Goya Lomse Lulda Luru Mamu Melve Minso Miva Muwe
    Nene Semse Semu Silda Sogno Sowe Suya Taru Tewe Tigno Tumu Tuva Vagno Vaya Veru Vither Wamse Wother Wugno Yune
    Yunso Yuther Zanso Zolve
""")

CURRENCIES: tuple[str, ...] = _list("""
    Belar Beruk Divin Dodram Fadram Fevin Fikat Ganto Geshek Gozlo Kalar Kukat Kunto Laruk Lekat Milar Mipek Pakat
    Pidram Potal Rashek Rento Roruk Siruk Suvin Tepek Tonto Toshek Vetal Vokat Vopek Vudram Zirel Zital Zizlo Zolar
""")

LANGUAGES: tuple[str, ...] = _list("""
    Bakkish Bennish Bintic Bultish Buvese Darrish Deltish Divese Dolvish Ferrish Filtish Fugese Gagese Gantic Gulvish
    Gurrish Kedric Koltish Ladric Lavese Megese Modric Pidric Pogese Porrish Rilvish Ronnish Runtic Selvish Sokkish
    Tannish Vevese Zikkish
""")

PLACE_PREFIXES: tuple[str, ...] = _list("""
    North South East West New Upper Lower Port Saint Fort Lake Grand Outer Inner Glen Castle Abbey Royal Nether Mount
""")

PLACE_SUFFIXES: tuple[str, ...] = _list("""
    Bay Hill Ford Cross Cove Dale Field Heath Landing Marsh Park Point Ridge Rock Sands Shore Spring Vale Wells Wood
    Creek Falls Green Harbour
""")

COUNTRY_SUFFIXES: tuple[str, ...] = _list("""
    Union Republic Islands Coast Highlands Plains Federation Kingdom Lowlands Territory
""")

COMPANY_KINDS: tuple[str, ...] = _list("""
    Mills Foundry Brothers Traders Bank Motors Brewery Looms Glass Steel Bakery Tools Paper Optics Shipping Timber
    Textiles Mining Chemicals Electric
""")

TITLE_ADJECTIVES: tuple[str, ...] = _list("""
    Amber Ancient Bitter Bold Borrowed Brave Broken Burning Calm Careless Crooked Curious Dancing Distant Eager Empty
    Endless Faithful Fallen Final Forgotten Frozen Gentle Golden Hidden Hollow Humble Idle Jealous Lonely Lost Lucky
    Mad Midnight Narrow Patient Pale Perfect Proud Quiet Ragged Restless Sacred Secret Silent Silver Simple Sleeping
    Stolen Strange Tender Twisted Velvet Wandering Weary Wild
""")

TITLE_NOUNS: tuple[str, ...] = _list("""
    Anchor Angel Arrow Ashes Autumn Blossom Bone Butterfly Cage Carnival Cloud Comet Compass Crown Curtain Daughter
    Desert Dragon Dream Dust Eagle Echo Ember Empire Fable Feather Fever Flame Forest Fortune Fountain Fox Garden
    Ghost Giant Harvest Hawk Heart Hour Hunter Ivory Jester Juggler Knight Ladder Lantern Legend Lily Lion Maze
    Meadow Monsoon Moon Mountain Oath Ocean Orchard Owl Palace Parrot Pearl Phantom Promise Puzzle Raven Riddle Rose
    Ruin Serpent Shadow Shepherd Sparrow Star Stranger Sword Temple Thief Thorn Thunder Tiger Tower Voyage Willow
    Witness
""")

GOODS: tuple[str, ...] = _list("""
    lamps boats clocks ropes nails carpets soap candles saddles barrels needles pipes mirrors bells kites drums wool
    salt tea honey
""")

PROFESSIONS: tuple[str, ...] = _list("""
    teacher painter baker doctor lawyer pilot sailor tailor weaver carpenter mason printer banker clerk cook guard
    nurse poet singer judge
""")

COLOURS: tuple[str, ...] = _list("""
    red blue yellow black white grey brown pink
""")

THINGS: tuple[str, ...] = _list("""
    hat horse goat cart basket coat map key ring tent violin chair bicycle spoon
""")

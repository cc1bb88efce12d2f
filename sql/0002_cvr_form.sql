-- The company forms (virksomhedsform) of the Central Business Register, by their official codes, and what each means to
-- the disclosure rules: the email of an `ordinary` form is public; the others are exempt from publication. A code that is
-- not listed here is unknown, and an unknown form is withheld. Bankruptcy is no form but a state of the company.

CREATE TABLE registry.cvr_form (
    code     integer PRIMARY KEY,
    name     text NOT NULL CHECK (registry.is_line(name)),
    category text NOT NULL
        CHECK (category IN ('ordinary', 'sole_proprietorship', 'small_business', 'deceased_estate', 'unstated'))
);

INSERT INTO registry.cvr_form (code, name, category) VALUES
    ( 10, 'Enkeltmandsvirksomhed',                                       'sole_proprietorship'),
    ( 15, 'Personligt ejet mindre virksomhed',                           'small_business'),
    ( 20, 'Dødsbo',                                                      'deceased_estate'),
    ( 30, 'Interessentskab',                                             'ordinary'),
    ( 40, 'Kommanditselskab',                                            'ordinary'),
    ( 45, 'Medarbejderinvesteringsselskab',                              'ordinary'),
    ( 50, 'Partrederi',                                                  'ordinary'),
    ( 60, 'Aktieselskab',                                                'ordinary'),
    ( 70, 'Partnerselskab',                                              'ordinary'),
    ( 80, 'Anpartsselskab',                                              'ordinary'),
    ( 81, 'Iværksætterselskab',                                          'ordinary'),
    ( 90, 'Fonde og andre selvejende institutioner',                     'ordinary'),
    (100, 'Erhvervsdrivende fond',                                       'ordinary'),
    (110, 'Forening',                                                    'ordinary'),
    (115, 'Frivillig forening',                                          'ordinary'),
    (130, 'Andelsselskab (-forening)',                                   'ordinary'),
    (140, 'Andelsselskab (-forening) med begrænset ansvar',              'ordinary'),
    (150, 'Forening eller selskab med begrænset ansvar',                 'ordinary'),
    (151, 'Selskab med begrænset ansvar',                                'ordinary'),
    (160, 'Europæisk økonomisk firmagruppe',                             'ordinary'),
    (170, 'Filial af udenlandsk aktieselskab',                           'ordinary'),
    (180, 'Filial af udenlandsk anpartsselskab',                         'ordinary'),
    (190, 'Filial af udenlandsk virksomhed med begrænset ansvar',        'ordinary'),
    (195, 'SCE-selskab',                                                 'ordinary'),
    (200, 'Filial af anden udenlandsk virksomhed',                       'ordinary'),
    (210, 'Anden udenlandsk virksomhed',                                 'ordinary'),
    (220, 'Fast forretningssted af europæisk økonomisk firmagruppe',     'ordinary'),
    (230, 'Statslig administrativ enhed',                                'ordinary'),
    (235, 'Selvstændig offentlig virksomhed',                            'ordinary'),
    (245, 'Region',                                                      'ordinary'),
    (250, 'Primærkommune',                                               'ordinary'),
    (260, 'Folkekirkelig institution',                                   'ordinary'),
    (280, 'Øvrige virksomhedsformer',                                    'ordinary'),
    (285, 'Særlig finansiel offentlig virksomhed',                       'ordinary'),
    (290, 'SE-selskab',                                                  'ordinary'),
    (990, 'Uoplyst virksomhedsform',                                     'unstated');

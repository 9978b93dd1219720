"Hands the metadata in settings.ini to setuptools; pyproject.toml names the rest."
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

config = ConfigParser(delimiters=['='])
config.read(Path(__file__).with_name('settings.ini'), encoding='utf-8')
cfg = config['DEFAULT']

setup(author=cfg['author'], license=cfg['license'], keywords=cfg['keywords'].split(), python_requires=f">={cfg['min_python']}",
    classifiers=cfg['classifiers'].split('\n')[1:], install_requires=cfg['requirements'].split(),
    extras_require={name:cfg[f'{name}_requirements'].split() for name in ('dev', 'bench', 'peers', 'docs', 'distributed', 'ecosystem', 'fastai1')})

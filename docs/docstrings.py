"Docments as data: name, type, default and meaning of each parameter"
import inspect, re
from types import NoneType
from typing import NamedTuple
from fastcore.docments import docments

class Parameter(NamedTuple):
    "One parameter, or what is returned, all of it text"
    name:str
    type:str
    default:str  # '' where it is required
    meaning:str

def type_text(annotation, meaning=''):
    "An annotation as a reader writes it; 'array_like' where there is none and the meaning tells a shape; '' if unknown"
    if annotation not in (inspect.Parameter.empty, None, NoneType):
        return re.sub(r'\b\w+\.', '', inspect.formatannotation(annotation)).strip("'")
    return 'array_like' if 'shape (' in meaning or 'in the shape of' in meaning else ''

def parameters(obj):
    "Each parameter of a function, of a method, or of the constructor of a class, as (name, type, default, meaning)"
    empty = inspect.Parameter.empty
    stars = {inspect.Parameter.VAR_POSITIONAL:'*', inspect.Parameter.VAR_KEYWORD:'**'}
    res = []
    for name,o in docments(obj, full=True, returns=False, args_kwargs=True).items():
        if name in ('self', 'cls'): continue
        meaning = o.docment or ''
        res.append(Parameter(stars.get(o.kind, '')+name, type_text(o.anno, meaning), '' if o.default is empty else repr(o.default), meaning))
    return res

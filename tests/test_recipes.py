"A call as plain data."
import inspect

from diffusion_nbdev.recipes import recipe_of


def test_arguments_of_any_name_are_recorded_as_they_were_given():
    def maker(a, *rest, **more): pass
    found = recipe_of('there.maker', inspect.signature(maker), (1,), dict(b=2, c=[3]))
    assert found == dict(class_path='there.maker', init_args=dict(a=1, b=2, c=[3]))

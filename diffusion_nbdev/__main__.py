"`python -m diffusion_nbdev` is the command `diffusion`. Written by hand; the command itself is made in 91h_main."


def main():
    from .cli.main import main as command  # here, so that importing this file costs nothing
    return command()


if __name__ == '__main__': raise SystemExit(main())

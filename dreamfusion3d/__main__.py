"""`python -m dreamfusion3d`: the same as the `dreamfusion3d` command."""

from dreamfusion3d.cli.main import main

if __name__ == "__main__":
    main()

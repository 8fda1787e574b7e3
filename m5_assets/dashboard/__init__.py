"""The planner's dashboard: server-rendered pages over the tables of PostgreSQL.

    app         routes, errors, security headers        database    the reading transaction, weeks, freshness
    scope       a place in the hierarchy and in a URL   overview, explore, exceptions, accuracy    a page each
    rules       what makes a series an exception        figures, colours    Plotly figures as plain data
    words       numbers and dates as people read them   downloads   CSV and Excel

Only SELECTs are sent, as the role `m5_reader`, every value bound. Not here: the mailed report (`m5_assets.report`) and
the tables themselves (`m5_assets.resources.postgres`).
"""
